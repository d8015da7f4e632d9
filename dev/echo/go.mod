module ollamaserve.dev/dev/echo

go 1.24.0
