"""The gateway: LLM traffic over several providers, healed before the client notices."""
