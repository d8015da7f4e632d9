"""One pure builder per kind, in a file named after it."""
