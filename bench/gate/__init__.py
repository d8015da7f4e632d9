"""The gate against nginx + Lua and others, on one machine (docs/benchmarks.md)."""
