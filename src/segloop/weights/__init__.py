"""Where weights come from, what their tensors are called, and how they are checked."""
