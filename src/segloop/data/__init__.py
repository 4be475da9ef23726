"""Images, masks and datasets on disk, and the samples made of them."""
