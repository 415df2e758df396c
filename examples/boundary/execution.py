"""I in ten lines: a paper venue that fills every order whole, at its limit or at 100.

python examples/boundary/execution.py run/execution.sock run/execution.db
"""

import sys

from msup import OrderIntent
from msup.boundary import NEVER_ARRIVED, Handler, NeverArrived, Offered, Outcome, Receiver, committed


class Paper(Handler):
    def on_offer(self, offered: Offered) -> Outcome:
        if not isinstance(offered.intent, OrderIntent):
            return committed(offered.refused("PAPER_TAKES_ORDERS_ONLY"))
        order = offered.intent.body
        return committed(
            offered.accepted(remaining=order.quantity), offered.filled(order.limit_price or 100, order.quantity)
        )

    def on_unknown(self, offered: Offered) -> NeverArrived:
        return NEVER_ARRIVED  # the venue is this process: what it had not recorded has not happened


if __name__ == "__main__":
    Receiver(Paper(), socket=sys.argv[1], store=sys.argv[2]).run()
