"""Requests and results of a board's agent as dataclasses, and the lines they travel in.

They are here, below `edge`, since both ends need them: the agent in edge/agent, and `devices`, which reads facts and
deploys with the agent's help. The room travels to boards in the agent's zip: it needs the standard library, and NumPy
where arrays are encoded. What only `edge` exchanges with the agent is in edge/agent/messages.py.
"""
