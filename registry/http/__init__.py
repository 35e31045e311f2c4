"""The API as REST and JSON, beside gRPC."""
