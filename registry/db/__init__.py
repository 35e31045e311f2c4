"""The registry's database, and the only SQL: tables, migrations, reads and writes."""
