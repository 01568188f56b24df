"""The month's bill of this stack, watched: who answers for it hears of it before it is spent."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.account import Account
from components.foundation import Foundation

ALERTS = (("FORECASTED", 100), ("ACTUAL", 80), ("ACTUAL", 100))
"""Which figure of the month, and at how much percent of the budget."""


@dataclass(frozen=True, slots=True)
class BudgetArgs:
    account: Account
    us_dollars: int
    email: str

    @classmethod
    def of(cls, base: Foundation, us_dollars: int, email: str) -> BudgetArgs:
        return cls(base.account, us_dollars, email)


class Budget(pulumi.ComponentResource):
    """A monthly budget of what has this stack's tag, with alerts by e-mail.

    The tag `Stack` must be activated for cost allocation, once in the account that pays (docs/costs.md): until then the
    budget sees nothing. Two budgets are free in an account.
    """

    def __init__(self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:budget:Budget", name, {}, opts)
        aws.budgets.Budget(
            "month",
            name=args.account.prefix,
            budget_type="COST",
            limit_amount=str(args.us_dollars),
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[
                aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:Stack${args.account.prefix}"])
            ],
            notifications=[
                aws.budgets.BudgetNotificationArgs(
                    notification_type=figure,
                    comparison_operator="GREATER_THAN",
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    subscriber_email_addresses=[args.email],
                )
                for figure, percent in ALERTS
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
