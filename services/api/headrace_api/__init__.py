"""The HTTP API. Each room imports only from those below it:

main, application   settings, the parts wired up, what runs beside the requests
metrics             what Prometheus reads
document/           the OpenAPI document and its page
routes/, tend/      the addresses; what one process does periodically for all. Apart from each other
context             the parts that the routes share
tasks/              from a request to a task: checked, queued, or run inside the request
http/               HTTP itself: the server, its connections, keys, bodies, problems
"""
