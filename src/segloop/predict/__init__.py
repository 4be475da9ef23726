"""From an image and prompts to masks."""
