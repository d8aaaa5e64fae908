"""Owns the explanation of an identity: why several tracks are taken for one somebody, told and drawn."""

from cluster.explain.explaining import Explained, explain_identity, list_identities
from cluster.explain.records import Records, records_of_run, records_of_site

__all__ = ["Explained", "Records", "explain_identity", "list_identities", "records_of_run", "records_of_site"]
