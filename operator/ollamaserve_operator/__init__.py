"""The operator: OllamaServe resources in, owned Kubernetes objects and a truthful status out."""
