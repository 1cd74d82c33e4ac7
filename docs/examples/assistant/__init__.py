"""The parts of the voice assistant that are not about pipelines: what it understands, says, prints and checks."""
