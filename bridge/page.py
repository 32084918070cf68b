"""The plain page at the root, until there is a dashboard."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Backchannel</title>
<h1>Backchannel</h1>
<p>This is the bridge of a Backchannel platform. Agents connect to it; there is nothing to click here yet.</p>
<ul>
<li><code>/ws</code>: the WebSocket for agents, with a token</li>
<li><a href="/health">/health</a>: how the platform is
  (also <a href="/health/live">/health/live</a> and <a href="/health/ready">/health/ready</a>)</li>
<li><a href="/metrics">/metrics</a>: numbers for Prometheus, with a token or from this machine</li>
<li><a href="/schema.json">/schema.json</a>: the protocol as JSON Schema</li>
<li><code>POST /store</code>: store a <code>memory_update</code>, with a token</li>
<li><code>POST /approvals/ID</code>: answer a request for approval, with a human's token</li>
</ul>
</html>
"""
