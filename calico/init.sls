# Calico on a minion, from checked settings to a proven network.
include:
  - calico.preflight
  - calico.install
  - calico.config
  - calico.service
  - calico.network
  - calico.cni
  - calico.ready
