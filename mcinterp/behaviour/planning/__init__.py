"""Planning: what the residual stream says of tokens several steps ahead, and what it makes of them."""
