"""The peers' names in results, and what people call them."""

DIRECT, NGINX, NGINX_LOGGED, PLAIN = "direct", "nginx", "nginx-logged", "aiohttp"
GATE_BARE, GATE, GATE_ASYNCIO = "gate-bare", "gate", "gate-asyncio"
GATE_INTERPRETED = "gate-interpreted"
LITELLM = "litellm"
IMPORT = "import-aiohttp"
TITLES = {
    DIRECT: "nothing between",
    NGINX: "nginx + Lua",
    NGINX_LOGGED: "nginx + Lua, access log and counter",
    PLAIN: "plain aiohttp proxy",
    GATE_BARE: "gate, authentication and policy only",
    GATE: "gate, everything on",
    GATE_ASYNCIO: "gate, everything on, without uvloop",
    GATE_INTERPRETED: "gate, everything on, not compiled",
    LITELLM: "LiteLLM proxy",
}
