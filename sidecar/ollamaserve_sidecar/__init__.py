"""The gate: the only door to an Ollama that listens on loopback, and the puller of its models."""
