{{- define "dreambooth.name" -}}
{{- $parts := compact (list .Release.Name .Values.nameOverride) | join "-" -}}
{{- .Values.fullnameOverride | default $parts | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "dreambooth.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "dreambooth.name" .) -}}
{{- end -}}

{{- define "dreambooth.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the `helm test` pods; the selectors of Service, Deployment and PodDisruptionBudget must not match them. */}}
{{- define "dreambooth.testSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dreambooth.labels" -}}
{{ include "dreambooth.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dreambooth.image" -}}
{{- $image := index . 0 -}}{{- $chart := index . 1 -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- if $image.digest -}}
{{- $image.repository }}@{{ $image.digest -}}
{{- else -}}
{{- $image.repository }}:{{ $image.tag | default $chart.AppVersion -}}
{{- end -}}
{{- end -}}

{{- define "dreambooth.podSecurity" -}}
runAsNonRoot: true
{{- if eq .Values.podUser "Fixed" }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "dreambooth.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Image pull Secrets and scheduling fields of pods. */}}
{{- define "dreambooth.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Rules of the operator in watched namespaces. */}}
{{- define "dreambooth.rules" -}}
- apiGroups: [dreambooth.io]
  resources: [dreamboothjobs, dreamboothscenes]
  verbs: [list, watch, delete]
- apiGroups: [dreambooth.io]
  resources:
    - dreamboothjobs/status
    - dreamboothjobs/finalizers
    - dreamboothscenes/status
    - dreamboothscenes/finalizers
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create]
{{- if .Values.networkPolicies.enabled }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, patch]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, create, update]
{{- end -}}

{{/* Cluster-wide rules of the operator: runtimes, and namespaces for their selectors. */}}
{{- define "dreambooth.clusterRules" -}}
- apiGroups: [dreambooth.io]
  resources: [dreamboothruntimes]
  verbs: [list, watch]
- apiGroups: [dreambooth.io]
  resources: [dreamboothruntimes/status]
  verbs: [update]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get{{ if .Values.namespaceSelector }}, list, watch{{ end }}]
{{- end -}}
