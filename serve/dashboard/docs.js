// The page's library knows OpenAPI up to 3.0; what our 3.1 document adds to that, it can show as it is.
fetch("/api/v1/openapi.json").then((answer) => answer.json()).then((spec) => {
  // The validator badge would call another host; everything here stays on this one.
  window.SwaggerUIBundle({ spec: { ...spec, openapi: "3.0.3" }, dom_id: "#swagger", validatorUrl: null, deepLinking: false });
});
