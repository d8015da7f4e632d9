"""The programs that stand between load generator and upstream, each started the same way."""
