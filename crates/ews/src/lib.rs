//! Exchange Web Services: wire types in both directions, and a client.
