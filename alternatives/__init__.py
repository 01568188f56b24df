"""The alternatives, a line each. What the rooms around know of one, they look up in its descriptor."""

from alternatives import fargate, serverless
from alternatives.descriptor import Alternative

ALTERNATIVES: dict[str, Alternative] = {
    "serverless": serverless.ALTERNATIVE,
    "fargate": fargate.ALTERNATIVE,
}
