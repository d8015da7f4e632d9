module ollamaserve.dev/bench/soak/upstream

go 1.24.0
