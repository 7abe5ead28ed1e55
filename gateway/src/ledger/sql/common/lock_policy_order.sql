UPDATE policy_order SET newest = newest WHERE only_row = 1
