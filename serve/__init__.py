"""Ray Serve: HTTP API, WebSocket and dashboard."""
