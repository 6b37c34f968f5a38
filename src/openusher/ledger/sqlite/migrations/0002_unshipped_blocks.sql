-- Every count asks which blocks are not shipped: one at most, among as many as the node has ever made.
CREATE INDEX blocks_unshipped ON blocks (number) WHERE NOT shipped;
