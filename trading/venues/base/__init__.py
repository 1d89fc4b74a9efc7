"""The Base chain, asked by plain JSON-RPC: nothing is signed and nothing is sent to be mined."""
