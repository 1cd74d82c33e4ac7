"""Ready-made processors: what most pipelines need some of. Each is a few lines over `FrameProcessor`, `@each` or a pipeline."""
