"""Version 1 of the wire contract. A breaking change opens ``v2`` beside it; nothing here is renamed or re-typed."""
