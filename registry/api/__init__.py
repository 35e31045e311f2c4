"""The gRPC services: translate, call, translate back. No SQL and no rules here."""
