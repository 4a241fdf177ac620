//! What the folder of the SQLite store promises beyond the traits.
