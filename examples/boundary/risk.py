"""J and E in ten lines: orders of up to 10 are approved, larger ones denied; at first only limit orders pass.

python examples/boundary/risk.py run/risk.sock run/risk.db
"""

import sys

from msup import OrderIntent
from msup.boundary import Address, Approver, Decision, Requested, RiskHandler, approve, deny


class Careful(RiskHandler):
    def on_instance(self, address: Address) -> None:
        self.approver.restrict(address, "careful", limit_only=True, reason="EXAMPLE")

    def on_request(self, request: Requested) -> Decision:
        if isinstance(request.intent, OrderIntent) and request.intent.body.quantity > 10:
            return deny("TOO_LARGE")
        return approve()


if __name__ == "__main__":
    Approver(Careful(), socket=sys.argv[1], store=sys.argv[2]).run()
