"""Who may do what: accounts, their roles and scopes, their tokens."""
