"""The dictionary of SmolLM2-135M; its files are in the folder `dictionary`, and nothing here is run."""
