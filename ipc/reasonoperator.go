package ipc

// operatorReasons are what operators, the risk side and the safety side order.
var operatorReasons = []Reason{
	{
		ReasonOperatorHalt, ReasonHalt, "An operator halted the instance.",
		"Run msup resume when the reason given in msup inspect is gone.",
	},
	{
		ReasonOperatorResume, ReasonInfo, "An operator resumed the instance.",
		"Nothing needs doing; who and why are in msup inspect.",
	},
	{
		ReasonOperatorMode, ReasonInfo, "An operator set the instance's mode.",
		"Run msup mode again to change it; who and why are in msup inspect.",
	},
	{
		ReasonOperatorCancelAll, ReasonDegrade, "An operator ordered all orders of the instance cancelled; it may not trade until that is done.",
		"Watch it with msup inspect, which also names who; the restriction ends when all are terminal. msup abandon ends one that cannot be met.",
	},
	{
		ReasonOperatorHedgeToFlat, ReasonDegrade, "An operator ordered the instance's orders cancelled and its position closed; the strategy may not trade until it is flat.",
		"Watch it with msup inspect, which also names who. msup abandon ends one that cannot be met, for example where the venue is closed for good.",
	},
	{
		ReasonOperatorAbandon, ReasonDegrade, "An operator abandoned an obligation that was under way: what it had not done stays undone.",
		"Bring the orders and positions that msup inspect shows into order by hand; who abandoned it is there, too.",
	},
	{
		ReasonSafetyFreeze, ReasonHalt, "The safety side froze the instance: nothing is sent, obligations included.",
		"Only the safety side can lift it, with unfreeze.",
	},
	{
		ReasonSafetyCancelAll, ReasonDegrade, "The safety side ordered all orders of the instance cancelled; it may not trade until that is done.",
		"Watch the cancels with msup intents; the restriction ends when all are terminal.",
	},
	{
		ReasonSafetyHedgeToFlat, ReasonDegrade, "The safety side ordered the instance's position closed; the strategy may not trade until it is flat.",
		"Watch it with msup inspect; help by hand at the venue only after msup halt.",
	},
	{
		ReasonSafetyHalt, ReasonHalt, "The safety side halted the instance.",
		"Ask the safety side; run msup resume when it agrees.",
	},
	{
		ReasonRiskRestriction, ReasonDegrade, "The risk side restricted the instance.",
		"msup inspect shows the restriction; the risk side releases it under the same restrict_id.",
	},
}
