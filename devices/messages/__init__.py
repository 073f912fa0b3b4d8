"""Defines the requests and results of a board's agent, and the lines that carry them.

They are here, below `edge`, since both ends need them: the agent in edge/agent, and `devices`, which reads facts and
deploys with the agent's help. The package is sent to boards in the agent's zip: it needs the standard library, and
NumPy where arrays are encoded. Messages that only `edge` exchanges with the agent are in edge/agent/messages.py.
"""
