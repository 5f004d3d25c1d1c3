"use strict";

// Swagger UI has dark colours, and a class instead of a look at what the reader prefers.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

const place = document.getElementById("swagger-ui");
// `validatorUrl: null`: nothing of this page asks a server elsewhere.
window.ui = SwaggerUIBundle({
  url: new URL(place.dataset.url, location.href).href,
  domNode: place,
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
