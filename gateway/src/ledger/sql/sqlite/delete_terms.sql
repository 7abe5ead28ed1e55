DELETE FROM issue_terms WHERE digest IN (SELECT digest FROM issue_terms WHERE coupon_id = ? LIMIT ?)
