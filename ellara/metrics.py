"""Every counter and gauge, declared once. Written where the thing happens, read by `/metrics`."""

from prometheus_client import Counter, Gauge

ACTOR_CRASHES = Counter("ellara_actor_crashes_total", "Crashes of supervised actors and contained tasks", ["actor"])
HTTP_REQUESTS = Counter("ellara_http_requests_total", "HTTP requests answered", ["method", "status"])
CONNECTIONS = Gauge("ellara_connections", "Open TCP connections of clients, WebSockets among them")
CONNECTION_FAULTS = Counter("ellara_connection_faults_total", "Connections ended by an error below the application")
SESSIONS = Gauge("ellara_sessions", "Open Socket.IO connections")
SESSIONS_DROPPED = Counter("ellara_sessions_dropped_total", "Connections ended by the server", ["reason"])
SESSIONS_REFUSED = Counter("ellara_sessions_refused_total", "New sessions that were not let in", ["reason"])
CONNECTIONS_REFUSED = Counter("ellara_connections_refused_total", "TCP connections that were not let in", ["reason"])
EVENTS_REFUSED = Counter("ellara_events_refused_total", "Events that came too fast, for their session or their user", ["limit"])
MESSAGES_REFUSED = Counter("ellara_messages_refused_total", "Messages and POSTs of clients that were too large", ["transport"])
CLIENTS_LOST = Gauge("ellara_clients_lost", "Clients without a connection that may be back")
CLIENTS_GIVEN_UP = Counter(
    "ellara_clients_given_up_total", "Lost clients that could not be kept for as long as promised", ["reason"]
)
RECOVERIES = Counter("ellara_recoveries_total", "Clients that came back and asked for what they missed", ["outcome"])
RUNS = Counter("ellara_runs_total", "Answers ended", ["outcome"])
RUNS_OPEN = Gauge("ellara_runs_open", "Answers being generated")
LEDGER_BATCH = Counter("ellara_ledger_batches_total", "Commits of the ledger")
LEDGER_CALLS = Counter("ellara_ledger_calls_total", "Requests that the ledger answered")
SETTLEMENTS = Counter("ellara_settlements_total", "Settlements by the state they reached", ["state"])
POOL_WAITING = Gauge("ellara_pool_waiting", "Tasks waiting for a database connection")
