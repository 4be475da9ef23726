"""What a user or a simulator asks of the model, and how it packs into arrays."""
