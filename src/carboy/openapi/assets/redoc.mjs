import { init } from "./redoc.js";

const place = document.getElementById("redoc");
init(new URL(place.dataset.url, location.href).href, {}, place);
