"""The figures of docs/benchmarks.md, measured on the real processes: `python -m bench`.

Every part starts the daemons as a user would (`clima forward`, `clima-agent run`), with CURVE on
loopback, and counts at the far end what arrived: a run that lost or doubled a reading gives no
figure. What is timed is CPU, which other work on the machine changes little; wall time only
where the figure is a latency.
"""
