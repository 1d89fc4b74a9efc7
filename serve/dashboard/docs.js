// The validator badge would call another host; everything here stays on this one.
window.SwaggerUIBundle({ url: "/api/v1/openapi.json", dom_id: "#swagger", validatorUrl: null, deepLinking: false });
