"use strict";
// Draws what is in #data on the canvas. Times are microseconds since the beginning. Text goes to the canvas or into
// textContent, never into HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("canvas"), board = document.getElementById("board");
const tip = document.getElementById("tip"), pen = canvas.getContext("2d");
const LABELS = 190, LANE = 15, BAND = 24, AXIS = 24, FONT = "12px system-ui, 'DejaVu Sans', sans-serif";
const INK = "#1f2328", SOFT = "#59636e", LINE = "#d1d9e0", ALARM = "#cf222e";
const STEPS = ["#57606a", "#0969da", "#1a7f37", "#bc4c00", "#8250df", "#bf3989", "#9a6700", "#116f7d"];
const OTHERS = ["#3b8ea5", "#c2703d", "#6a8f3c", "#a05195", "#5470c6", "#b5a13c", "#d45087", "#2f7f6d", "#8c6d5a", "#7a7fbf"];
const KNOWN = {
  InputAudioFrame: "#a9bccf", OutputAudioFrame: "#8b6fc4", TranscriptionFrame: "#2f9e6b", TextFrame: "#e0922f",
  UserStartedSpeakingFrame: "#2f7fd1", UserStoppedSpeakingFrame: "#2f7fd1", UserTurnStartedFrame: "#1b5c9e",
  UserTurnStoppedFrame: "#1b5c9e", BotStartedSpeakingFrame: "#7d55c7", BotStoppedSpeakingFrame: "#7d55c7",
  InterruptionFrame: "#cf222e", ErrorFrame: "#cf222e", MetricsFrame: "#c9b458", StartFrame: "#7d8590", EndFrame: "#7d8590",
};
const HAPPENED = { "interrupt": ALARM, "interrupt refused": "#d4a72c", "error": ALARM, "unusable": ALARM, "heartbeat lost": ALARM };
const WHO = { user: ["user speaks", "#54aeff", "#0a3069"], turn: ["user's turn", "#b6e3ff", "#0a3069"], bot: ["bot speaks", "#c297ff", "#3e1f79"] };

const total = Math.max(data.end, 1);
let view = [0, total], size = { w: 0, h: 0 }, pointer = null, drag = null;

const colours = new Map();
function colour(kind) {
  if (!colours.has(kind)) colours.set(kind, KNOWN[kind] || OTHERS[colours.size % OTHERS.length]);
  return colours.get(kind);
}
data.kinds.forEach(kind => kind && colour(kind));

// -- where everything stands, from top to bottom

const bands = [], rows = [];
let height = AXIS;
data.tasks.forEach((name, task) => {
  if (data.tasks.length > 1) { bands.push({ y: height, h: 20, title: name }); height += 20; }
  const mine = data.said.filter(it => it.task === task);
  for (const who of ["user", "turn", "answer", "bot"]) {
    const items = who === "answer" ? data.answers.filter(it => it.task === task) : mine.filter(it => it.who === who);
    if (!items.length) continue;
    bands.push({ y: height, h: BAND, who, items, name: who === "answer" ? "user waits" : WHO[who][0] });
    height += BAND;
  }
  data.rows.forEach((row, number) => {
    if (row.task !== task) return;
    const h = Math.max(26, row.lanes * LANE + 8);
    rows[number] = { y: height, h, name: row.name, works: [], waits: [], marks: [] };
    height += h;
  });
});
height += 6;

// works: columns of row, lane, kind, began, length, queued, frame, flags (1 up, 2 a wait, 4 stopped, 8 goes on, 16 set-up)
const UP = 1, WAIT = 2, STOPPED = 4, GOES_ON = 8, SET_UP = 16;
const works = data.works;
for (let i = 0; i < works.row.length; i++) rows[works.row[i]][works.flags[i] & WAIT ? "waits" : "works"].push(i);
for (const it of data.happened) if (it.row !== null && rows[it.row]) rows[it.row].marks.push(it);
let longest = 1;
for (const length of works.length) if (length > longest) longest = length;

// -- drawing

const x = at => LABELS + (at - view[0]) / (view[1] - view[0]) * (size.w - LABELS);
const time = px => view[0] + (px - LABELS) / (size.w - LABELS) * (view[1] - view[0]);

function seconds(us, digits) { return (us / 1e6).toFixed(digits === undefined ? 3 : digits) + " s"; }
function span(us) { return us && us < 1000 ? us + " µs" : us < 1e7 ? (us / 1000).toFixed(us && us < 1e4 ? 2 : 0) + " ms" : seconds(us); }

function text(words, left, y, room, fill) {
  if (room < 12 || !words) return;
  pen.fillStyle = fill;
  if (pen.measureText(words).width > room) {
    let low = 0, high = words.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (pen.measureText(words.slice(0, middle) + "…").width <= room) low = middle; else high = middle - 1;
    }
    if (!low) return;
    words = words.slice(0, low) + "…";
  }
  pen.fillText(words, left, y);
}

function box(from, to, y, h, fill) {
  const left = Math.max(x(from), LABELS - 2), right = Math.min(x(to), size.w + 2);
  pen.fillStyle = fill;
  pen.fillRect(left, y, Math.max(right - left, 1), h);
  return [left, right];
}

const hatch = (() => {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const ink = tile.getContext("2d");
  ink.strokeStyle = "#fff";
  ink.lineWidth = 2.2;
  for (const at of [-8, 0, 8]) { ink.beginPath(); ink.moveTo(at, 8); ink.lineTo(at + 8, 0); ink.stroke(); }
  return pen.createPattern(tile, "repeat");
})();

function inView(list) {
  // The part of a row's works that can be seen: they are sorted by their beginning.
  let low = 0, high = list.length;
  const from = view[0] - longest;
  while (low < high) { const middle = (low + high) >> 1; if (works.began[list[middle]] < from) low = middle + 1; else high = middle; }
  return low;
}

function drawWorks(row) {
  const last = {}, labels = []; // `last`, by lane: the pixel that is full already
  const h = (row.h - 8) / Math.max(1, Math.floor((row.h - 8) / LANE)) - 3;
  const top = i => row.y + 4 + works.lane[i] * LANE;
  for (let place = inView(row.works); place < row.works.length; place++) {
    const i = row.works[place], began = works.began[i], ended = began + works.length[i];
    if (began - works.queued[i] > view[1]) break;
    if (ended < view[0]) continue;
    const left = x(began), right = x(ended), lane = works.lane[i], flags = works.flags[i];
    if (right - left < 0.5 && last[lane] === Math.floor(right) && !(flags & STOPPED)) continue;
    last[lane] = Math.floor(right);
    const fill = flags & SET_UP ? "#d0d7de" : colour(data.kinds[works.kind[i]]);
    const queued = left - x(began - works.queued[i]);
    if (queued > 1) { pen.fillStyle = fill; pen.fillRect(Math.max(left - queued, LABELS), top(i) + h + 1, left - Math.max(left - queued, LABELS), 2); }
    box(began, ended, top(i), h, fill);
    if (Math.min(right, size.w) - Math.max(left, LABELS) > 30 || flags & (STOPPED | GOES_ON)) labels.push([i, left, right]);
  }
  for (const i of row.waits) {
    const left = Math.max(x(works.began[i]), LABELS), right = Math.min(x(works.began[i] + works.length[i]), size.w);
    if (right < LABELS || left > size.w || right - left < 1) continue;
    pen.fillStyle = hatch;
    pen.globalAlpha = 0.7;
    pen.fillRect(left, top(i), right - left, h);
    pen.globalAlpha = 1;
    pen.strokeStyle = SOFT; pen.lineWidth = 1;
    pen.strokeRect(left + 0.5, top(i) + 0.5, right - left - 1, h - 1);
  }
  for (const [i, left, right] of labels) {
    const flags = works.flags[i], from = Math.max(left, LABELS), y = top(i);
    const name = flags & SET_UP ? "set-up" : data.kinds[works.kind[i]].replace(/Frame$/, "") + (flags & UP ? " ↑" : "");
    text(name, from + 4, y + h / 2 + 0.5, Math.min(right, size.w) - from - 8, flags & SET_UP ? SOFT : "#fff");
    if (flags & STOPPED) {
      pen.strokeStyle = ALARM; pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(right - 4, y + 1); pen.lineTo(right + 4, y + h - 1); pen.moveTo(right + 4, y + 1); pen.lineTo(right - 4, y + h - 1);
      pen.stroke();
    }
    if (flags & GOES_ON) text("…", right + 2, y + h / 2, 20, INK);
  }
  for (const mark of row.marks) {
    const at = x(mark.at);
    if (at < LABELS || at > size.w) continue;
    if (mark.what === "measured") {
      pen.fillStyle = "#fff"; pen.strokeStyle = INK; pen.lineWidth = 1.5;
      pen.beginPath();
      pen.moveTo(at, row.y + 1); pen.lineTo(at + 5, row.y + 6); pen.lineTo(at, row.y + 11); pen.lineTo(at - 5, row.y + 6);
      pen.closePath(); pen.fill(); pen.stroke();
    } else if (mark.what === "text") {
      pen.fillStyle = INK;
      pen.beginPath(); pen.moveTo(at - 4, row.y + row.h); pen.lineTo(at + 4, row.y + row.h); pen.lineTo(at, row.y + row.h - 6); pen.fill();
    } else {
      pen.fillStyle = HAPPENED[mark.what] || SOFT;
      pen.beginPath(); pen.arc(at, row.y + 6, 4, 0, 7); pen.fill();
    }
  }
}

function drawBand(band) {
  if (band.title !== undefined) {
    pen.fillStyle = "#eaeef2"; pen.fillRect(0, band.y, size.w, band.h);
    pen.font = "bold " + FONT; text(band.title, 8, band.y + band.h / 2, size.w - 16, INK); pen.font = FONT;
    return;
  }
  for (const it of band.items) {
    if (it.to < view[0] || it.from > view[1]) continue;
    const y = band.y + 3, h = band.h - 6;
    if (band.who !== "answer") {
      const [name, fill, ink] = WHO[band.who];
      const [left, right] = box(it.from, it.to, y, h, fill);
      text(it.text ? "“" + it.text + "”" : "", Math.max(left, LABELS) + 5, y + h / 2, right - Math.max(left, LABELS) - 9, ink);
      if (it.cut && x(it.to) > LABELS && x(it.to) <= size.w) { pen.fillStyle = ALARM; pen.fillRect(right - 3, y - 2, 3, h + 4); }
      continue;
    }
    it.steps.forEach(step => box(step.from, step.to, y, h, STEPS[step.colour]));
    it.steps.forEach((step, place) => number(step, place, Math.max(x(step.from), LABELS), y + h / 2, x(step.to) - Math.max(x(step.from), LABELS)));
    const words = it.interrupted ? "interrupted" : Math.round((it.to - it.from) / 1000) + " ms";
    pen.font = "bold " + FONT;
    text(words, Math.max(x(it.to), LABELS) + 6, y + h / 2, 90, it.interrupted ? ALARM : INK);
    pen.font = FONT;
  }
}

function number(step, place, left, middle, room) {
  if (room < 14) return;
  pen.textAlign = "center";
  pen.font = "bold 11px system-ui, 'DejaVu Sans', sans-serif";
  pen.fillStyle = "#fff";
  const wide = room > 60 ? place + 1 + ": " + span(step.to - step.from) : String(place + 1);
  pen.fillText(wide, left + room / 2, middle);
  pen.font = FONT;
  pen.textAlign = "left";
}

function drawAnswers() {
  // Close enough, each step of an answer is a column through all rows, and a numbered dot where it was brought.
  for (const it of data.answers) {
    if (it.to < view[0] || it.from > view[1] || x(it.to) - x(it.from) < 40) continue;
    for (const step of it.steps) {
      pen.globalAlpha = 0.09;
      box(step.from, step.to, AXIS, height, STEPS[step.colour]);
      pen.globalAlpha = 1;
    }
  }
}

function drawDots() {
  for (const it of data.answers) {
    if (it.to < view[0] || it.from > view[1] || x(it.to) - x(it.from) < 120) continue;
    const taken = {}; // dots of one row that would cover each other stand side by side
    it.steps.forEach((step, place) => {
      const row = rows[step.row];
      if (!row) return;
      let at = x(step.to);
      if (taken[step.row] !== undefined && at - taken[step.row] < 18) at = taken[step.row] + 18;
      taken[step.row] = at;
      if (at < LABELS || at > size.w + 9) return;
      pen.fillStyle = STEPS[step.colour]; pen.strokeStyle = "#fff"; pen.lineWidth = 2;
      pen.beginPath(); pen.arc(at, row.y + row.h / 2, 9, 0, 7); pen.fill(); pen.stroke();
      pen.fillStyle = "#fff"; pen.textAlign = "center"; pen.font = "bold 11px system-ui, 'DejaVu Sans', sans-serif";
      pen.fillText(place + 1, at, row.y + row.h / 2 + 0.5);
      pen.textAlign = "left"; pen.font = FONT;
    });
  }
}

function drawAxis() {
  const step = [1, 2, 5].flatMap(a => Array.from({ length: 10 }, (_, n) => a * 10 ** n)).sort((a, b) => a - b)
    .find(it => it / (view[1] - view[0]) * (size.w - LABELS) > 80) || 1e10;
  const digits = Math.max(0, 6 - Math.floor(Math.log10(step)));
  for (let at = Math.ceil(view[0] / step) * step; at <= view[1]; at += step) {
    pen.fillStyle = LINE; pen.fillRect(Math.round(x(at)), AXIS - 6, 1, height);
    text(seconds(at, Math.min(digits, 6)), x(at) + 4, AXIS / 2, 90, SOFT);
  }
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  size = { w: board.clientWidth, h: height };
  canvas.style.height = height + "px";
  if (canvas.width !== size.w * ratio || canvas.height !== height * ratio) { canvas.width = size.w * ratio; canvas.height = height * ratio; }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = FONT; pen.textBaseline = "middle";
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, size.w, height);
  rows.forEach((row, place) => { if (place % 2) { pen.fillStyle = "#f6f8fa"; pen.fillRect(0, row.y, size.w, row.h); } });
  drawAxis();
  drawAnswers();
  rows.forEach(drawWorks);
  bands.forEach(drawBand);
  for (const it of data.happened) {
    if (!it.what.startsWith("interrupt") || x(it.at) < LABELS || x(it.at) > size.w) continue;
    pen.strokeStyle = HAPPENED[it.what]; pen.lineWidth = 1.5; pen.setLineDash([5, 3]);
    pen.beginPath(); pen.moveTo(x(it.at), AXIS); pen.lineTo(x(it.at), height); pen.stroke(); pen.setLineDash([]);
  }
  drawDots();
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, LABELS, height);
  rows.forEach((row, place) => {
    if (place % 2) { pen.fillStyle = "#f6f8fa"; pen.fillRect(0, row.y, LABELS, row.h); }
    text(row.name, 8, row.y + row.h / 2, LABELS - 14, INK);
  });
  for (const band of bands) if (band.name) text(band.name, 8, band.y + band.h / 2, LABELS - 14, SOFT); else drawBand(band);
  pen.fillStyle = LINE; pen.fillRect(LABELS - 1, AXIS, 1, height);
  canvas.dataset.view = view.map(Math.round).join(" ");
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function show(from, to) {
  const least = 20; // microseconds
  let length = Math.min(Math.max(to - from, least), total * 1.06);
  from = Math.min(Math.max(from, -total * 0.03), total * 1.03 - length);
  view = [from, from + length];
  redraw();
}
const all = () => show(-total * 0.01, total * 1.02);
function zoom(by, at) {
  const middle = at === undefined ? (view[0] + view[1]) / 2 : at;
  show(middle - (middle - view[0]) * by, middle + (view[1] - middle) * by);
}

// -- what is under the pointer

function found(px, py) {
  const at = time(px), near = Math.abs(time(px + 4) - at);
  for (const band of bands) {
    if (!band.items || py < band.y || py > band.y + band.h) continue;
    const it = band.items.find(one => at >= one.from - near && at <= one.to + near);
    if (!it) return band.name;
    if (band.who === "answer") {
      const place = Math.max(0, it.steps.findIndex(step => at <= step.to));
      return ["The user waited " + span(it.to - it.from) + (it.interrupted ? ", in vain: it was interrupted" : "")]
        .concat(it.steps.map((step, n) => (n === place ? "▸ " : "   ") + (n + 1) + ": " + span(step.to - step.from) + "  " + step.what + (step.who ? ", by " + step.who : "") + (step.text ? " “" + step.text + "”" : ""))).join("\n");
    }
    return band.name + " from " + seconds(it.from) + ", for " + span(it.to - it.from) + (it.cut ? ", cut off" : "") + (it.text ? "\n“" + it.text + "”" : "");
  }
  const row = rows.find(one => one && py >= one.y && py < one.y + one.h);
  const lines = [];
  for (const it of data.happened)
    if (Math.abs(it.at - at) < near && (it.what.startsWith("interrupt") || (row && rows[it.row] === row) || (it.row === null && !row)))
      lines.push(it.what + " at " + seconds(it.at) + (it.text ? ": " + it.text : ""));
  if (row) {
    const lane = Math.floor((py - row.y - 4) / LANE);
    let best = -1;
    for (let place = inView(row.works); place < row.works.length; place++) {
      const i = row.works[place];
      if (works.began[i] - works.queued[i] > at + near) break;
      if (works.began[i] + works.length[i] < at - near) continue;
      if (best < 0 || works.lane[i] === lane || works.lane[best] !== lane) best = i;
    }
    if (best >= 0) lines.push(...told(best));
    for (const i of row.waits)
      if (at >= works.began[i] - near && at <= works.began[i] + works.length[i] + near)
        lines.push("waited " + span(works.length[i]) + " for room below, to push " + data.kinds[works.kind[i]] + "#" + works.frame[i]);
    if (!lines.length) return row.name;
    lines.unshift(row.name);
  }
  return lines.join("\n");
}

function told(i) {
  const flags = works.flags[i];
  if (flags & SET_UP) return ["set-up: " + span(works.length[i])];
  const lines = ["handled " + data.kinds[works.kind[i]] + "#" + works.frame[i] + (flags & UP ? ", going up" : ""), "from " + seconds(works.began[i]) + ", for " + span(works.length[i])];
  if (works.queued[i] > 0) lines.push("it had waited " + span(works.queued[i]) + " in the queue");
  if (flags & STOPPED) lines.push("stopped: by an interrupt, a deadline or the end");
  if (flags & GOES_ON) lines.push("still at it");
  return lines;
}

function point(event) {
  const place = canvas.getBoundingClientRect();
  pointer = [event.clientX - place.left, event.clientY - place.top];
  const words = pointer[0] > LABELS ? found(pointer[0], pointer[1]) : "";
  tip.style.display = words ? "block" : "none";
  tip.textContent = words;
  const left = pointer[0] + 16 + tip.offsetWidth > size.w ? pointer[0] - tip.offsetWidth - 12 : pointer[0] + 16;
  tip.style.left = Math.max(0, left) + "px";
  tip.style.top = Math.min(pointer[1] + 14, Math.max(0, height - tip.offsetHeight)) + "px";
}

canvas.addEventListener("wheel", event => {
  event.preventDefault();
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    const by = (view[1] - view[0]) * event.deltaX / size.w;
    show(view[0] + by, view[1] + by);
  } else zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / 400), time(event.offsetX));
}, { passive: false });
canvas.addEventListener("pointerdown", event => { drag = [event.clientX, ...view]; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointerup", () => { drag = null; });
canvas.addEventListener("pointermove", event => {
  if (drag) {
    const by = (drag[0] - event.clientX) / (size.w - LABELS) * (drag[2] - drag[1]);
    show(drag[1] + by, drag[2] + by);
  }
  point(event);
});
canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
canvas.addEventListener("dblclick", all);
canvas.addEventListener("keydown", event => {
  const by = (view[1] - view[0]) / 8;
  const act = { "0": all, "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), ArrowLeft: () => show(view[0] - by, view[1] - by), ArrowRight: () => show(view[0] + by, view[1] + by) }[event.key];
  if (act) { event.preventDefault(); act(); }
});
document.getElementById("all").addEventListener("click", all);
document.getElementById("in").addEventListener("click", () => zoom(0.6));
document.getElementById("out").addEventListener("click", () => zoom(1 / 0.6));

// -- answers above lead to their place; #answer=2 and #view=FROM,TO (seconds) in the address do too

const answers = [...document.querySelectorAll(".answer")];
function mark(place) { answers.forEach((one, n) => one.classList.toggle("chosen", n === place)); }

function choose(place) {
  const it = data.answers[place];
  if (!it) return;
  mark(place);
  const spoke = data.said.filter(one => one.task === it.task && one.who === "user" && one.from <= it.from).pop();
  const before = Math.min(spoke ? it.from - spoke.from + 200000 : 400000, 2500000);
  show(it.from - before, it.to + Math.max(700000, (it.to - it.from) * 0.6));
}
answers.forEach((one, place) => one.addEventListener("click", () => choose(place)));

function follow() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const ends = (wanted.get("view") || "").split(",").map(Number);
  if (wanted.has("answer")) choose(Number(wanted.get("answer")) - 1);
  if (ends.length === 2 && ends[0] < ends[1]) show(ends[0] * 1e6, ends[1] * 1e6);
}

// -- the legend

function entry(words, style) {
  const item = document.createElement("span"), sample = document.createElement("i");
  Object.assign(sample.style, style);
  item.append(sample, words);
  document.getElementById("legend").append(item);
}
const seen = new Set();
for (let i = 0; i < works.row.length; i++) if (!(works.flags[i] & (WAIT | SET_UP))) seen.add(works.kind[i]);
[...seen].sort((a, b) => a - b).forEach(kind => entry(data.kinds[kind], { background: colour(data.kinds[kind]) }));
entry("waited in the queue", { height: "2px", background: INK, verticalAlign: "4px" });
if (works.flags.some(it => it & WAIT)) entry("waited for room below", { background: "repeating-linear-gradient(-45deg, #afb8c1 0 2.5px, #fff 2.5px 4px)", border: "1px solid #57606a" });
if (works.flags.some(it => it & STOPPED)) entry("× stopped", { width: "8px", height: "3px", background: ALARM, verticalAlign: "3px" });
if (works.flags.some(it => it & SET_UP)) entry("set-up", { background: "#d0d7de" });
if (data.happened.some(it => it.what === "interrupt")) entry("interrupt", { height: "0", borderTop: "2px dashed " + ALARM, verticalAlign: "4px" });
if (data.happened.some(it => it.what === "measured")) entry("measurement", { width: "9px", height: "9px", transform: "rotate(45deg)", border: "1.5px solid #1f2328" });
if (data.happened.some(it => it.what === "text")) entry("a new text", { width: "0", height: "0", borderLeft: "4px solid transparent", borderRight: "4px solid transparent", borderBottom: "6px solid #1f2328" });

new ResizeObserver(redraw).observe(board);
window.addEventListener("hashchange", follow);
document.body.classList.add("live");
mark(0);
all();
follow();
draw();
canvas.dataset.drawn = rows.length + " rows, " + works.row.length + " works";
