-- What waits for a person: how many, until when, and how much money, by currency. No canaries.
SELECT currency, count(*) AS waiting,
       min(review_by) FILTER (WHERE review_by BETWEEN '0001-01-02' AND '9999-01-01') AS first, sum(amount) AS amount
FROM payments
WHERE review_by IS NOT NULL
GROUP BY currency
