"""recloser: a circuit breaker for everything an LLM agent depends on."""
