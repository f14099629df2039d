"""What backends, merging and fusing all have to know of checkpoint folders. Loads no model, and no torch."""
