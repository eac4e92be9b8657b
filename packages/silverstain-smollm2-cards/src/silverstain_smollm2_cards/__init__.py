"""Cards of SmolLM2-135M's neurons; the file is in the folder `cards`, and nothing here is run."""
