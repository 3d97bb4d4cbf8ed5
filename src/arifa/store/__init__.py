"""The books on disk: SQLite in one file, or PostgreSQL. One schema, one set of statements.

The store knows no bank and no HTTP. `database` opens it; `schema` has the tables; every other
module is one noun.
"""
